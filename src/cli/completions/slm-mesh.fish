# Completion of slm-mesh in fish: slm-mesh completions fish | source
function __slm_mesh_words
    set -l words (commandline -opc) (commandline -ct)
    slm-mesh completions words -- $words[2..-1] 2>/dev/null
end
complete -c slm-mesh -f -a '(__slm_mesh_words)'
complete -c slm-mesh -n '__fish_seen_subcommand_from lock' -F
