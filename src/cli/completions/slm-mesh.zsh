#compdef slm-mesh
# Completion of slm-mesh in zsh: source <(slm-mesh completions zsh), after compinit
_slm_mesh() {
    local line
    local -a found
    for line in ${(f)"$(slm-mesh completions words -- "${(@)words[2,CURRENT]}" 2>/dev/null)"}; do
        found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    if (( $#found )); then
        _describe 'slm-mesh' found
    else
        _files
    fi
}
if [[ $funcstack[1] == _slm_mesh || $funcstack[1] == _slm-mesh ]]; then
    _slm_mesh "$@"
else
    compdef _slm_mesh slm-mesh
fi
