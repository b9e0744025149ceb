#compdef qbatch
# zsh completion for qbatch: made by `qbatch help completion zsh`

# The names of runs, from the state directory that the command line names.
_qbatch_runs() {
    local -a state runs
    local at=${words[(I)--state]}
    (( at )) && state=(--state ${(Q)words[at + 1]})
    at=${words[(I)--state=*]}
    (( at )) && state=(${(Q)words[at]})
    runs=(last ${(f)"$(_call_program runs ${(q)program} status ${(q)state} 2>/dev/null)"})
    runs=(${(M)${runs%% *}:#(last|[0-9]*)})
    _wanted -V runs expl run compadd -a runs
}

_qbatch_manifests() {
    _files -g '*.(yaml|yml)(-.)'
}

_qbatch_images() {
    _files -g '*.(qcow2|qcow|img)(-.)'
}

_qbatch_orders() {
    if (( ${words[(I)skip]} )); then
        _qbatch_images
    elif (( ${words[(I)limits]} )); then
        _values -S = limit @zsh_limits@
    else
        _alternative 'orders:order:(status pause continue stop skip limits reload)' 'runs:run:_qbatch_runs'
    fi
}

_qbatch_codes() {
    _wanted codes expl code compadd @codes@
}

_qbatch_topics() {
    _wanted topics expl topic compadd @topics@
}

# After "completion" alone: other topics take no second word.
_qbatch_shells() {
    (( ${words[(I)completion]} )) && _wanted shells expl shell compadd bash zsh
}

# KEY=VALUE[,KEY=VALUE]...
_qbatch_keys() {
    _values -s , 'amend key' \
@zsh_keys@
}

_qbatch() {
    local program=$words[1] expl
    local -a commands
    commands=(
@zsh_commands@
    )
    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
        _describe -t commands command commands
        _qbatch_manifests
        return
    fi
    local command=$words[2]
    if (( ${commands[(I)$command:*]} )); then # _arguments counts from the command on
        shift words
        (( CURRENT-- ))
    fi
    case $command in
@zsh_arguments@
    esac
}
_qbatch "$@"
