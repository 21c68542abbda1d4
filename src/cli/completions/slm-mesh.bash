# Completion of slm-mesh in bash: source <(slm-mesh completions bash)
_slm_mesh() {
    local IFS=$'\n'
    COMPREPLY=($(slm-mesh completions words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1))
}
complete -o default -F _slm_mesh slm-mesh
