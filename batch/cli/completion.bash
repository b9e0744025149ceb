# bash completion for qbatch: made by `qbatch help completion bash`

# Each function offers candidates for $word, with $head before them, in COMPREPLY.
_qbatch_words()
{
    COMPREPLY+=($(compgen -P "$head" -W "$1" -- "$word"))
}

_qbatch_add_files()
{
    local file
    while IFS= read -r file; do
        COMPREPLY+=("$head$file")
    done
    compopt -o filenames 2>/dev/null
}

_qbatch_files()
{
    _qbatch_add_files < <(compgen -f -- "$word")
}

_qbatch_dirs()
{
    _qbatch_add_files < <(compgen -d -- "$word")
}

# Files that end in one of these, and directories; all files where there is none of these.
_qbatch_files_like()
{
    local end before=${#COMPREPLY[@]}
    for end in "$@"; do
        _qbatch_add_files < <(compgen -f -X "!*.$end" -- "$word")
    done
    ((${#COMPREPLY[@]} > before)) || { _qbatch_files; return; }
    _qbatch_dirs
}

_qbatch_manifests()
{
    _qbatch_files_like yaml yml
}

_qbatch_images()
{
    _qbatch_files_like qcow2 qcow img
}

# The names of runs, from the state directory that the command line names.
_qbatch_runs()
{
    local state=() i
    for ((i = 1; i < ${#line[@]}; i++)); do
        case ${line[i]} in
        --state) state=(--state "${line[i + 1]}") ;;
        --state=*) state=("${line[i]}") ;;
        esac
    done
    _qbatch_words "last $("${line[0]}" status "${state[@]}" 2>/dev/null | sed -n 's/^\([0-9][^ ]*\) .*/\1/p')"
}

_qbatch_run_and_images()
{
    if ((operands == 0)); then _qbatch_runs; else _qbatch_images; fi
}

_qbatch_backups()
{
    case $operands in
    0) _qbatch_words 'list restore prune' ;;
    1) _qbatch_runs ;;
    *) _qbatch_images ;;
    esac
}

_qbatch_orders()
{
    case ${line[*]:2} in
    *skip\ *) _qbatch_images ;;
    *limits\ *) _qbatch_words '@bash_limits@' && compopt -o nospace 2>/dev/null ;;
    *)
        _qbatch_words 'status pause continue stop skip limits reload'
        ((operands > 0)) || _qbatch_runs
        ;;
    esac
}

_qbatch_reports()
{
    if ((operands == 0)); then _qbatch_words 'show merge'; else _qbatch_files; fi
}

_qbatch_schemas()
{
    if ((operands == 0)); then _qbatch_words 'manifest report'; fi
}

_qbatch_codes()
{
    case $operands in
    0) _qbatch_words '@codes@' ;;
    esac
}

_qbatch_topics()
{
    case $operands:$before in
    0:*) _qbatch_words '@topics@' ;;
    1:completion) _qbatch_words 'bash zsh' ;;
    esac
}

# KEY=VALUE[,KEY=VALUE]...: a key after a comma, a value after =.
_qbatch_keys()
{
    local item=${word##*,}
    if [[ $item != *=* ]]; then
        head+=${word%"$item"} word=$item
        _qbatch_words '@bash_keys@'
        compopt -o nospace 2>/dev/null
        return
    fi
    head+=${word%"${item#*=}"} word=${item#*=}
    case ${item%%=*} in
@bash_key_values@
    esac
}

_qbatch_argument()
{
    case $1 in
@bash_arguments@
    *) return 1 ;;
    esac
}

_qbatch()
{
    local line=() cword=0 i glue=0
    # bash has split the words at = and :, which are no spaces here
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if ((i > 1)) && [[ ${COMP_WORDS[i]} == [=:]* || $glue == 1 ]]; then
            line[cword]+=${COMP_WORDS[i]}
        else
            cword=${#line[@]}
            line[cword]=${COMP_WORDS[i]}
        fi
        glue=0
        [[ ${COMP_WORDS[i]} == *[=:] && $i -lt $COMP_CWORD && -n ${COMP_WORDS[i + 1]} ]] && glue=1
        [[ ${COMP_WORDS[i]} == [=:] ]] && glue=1
    done
    local word=${line[cword]} before=${line[cword - 1]} head= full options names operands=0
    full=$word
    COMPREPLY=()
    case ${line[1]} in
@bash_operands@
    esac
    for ((i = 2; i < cword; i++)); do
        [[ ${line[i]} == -* ]] && continue
        _qbatch_takes_word "${line[i - 1]}" || ((operands++))
    done
    if [[ $word == --*=* ]]; then
        head=${word%%=*}= word=${word#*=}
        _qbatch_argument "${head%=}"
    elif _qbatch_takes_word "$before"; then
        _qbatch_argument "$before"
    elif [[ $word == -* ]]; then
        _qbatch_words "$options"
    else
        ((cword == 1)) && _qbatch_words '@bash_commands@'
        $names
    fi
    # bash replaces only what is after the last = or :
    if [[ $full == *[=:]* && $COMP_WORDBREAKS == *=* ]]; then
        local part=${full%"${full##*[=:]}"}
        COMPREPLY=("${COMPREPLY[@]#"$part"}")
    fi
}

# Whether the next word is the argument of this one.
_qbatch_takes_word()
{
    case $1 in
    --resume|--retry-failed) return 1 ;; # only behind =
    -*=*) return 1 ;;
    esac
    local COMPREPLY=() word= head= line=(true) operands=0 before=
    [[ $1 == -* ]] && _qbatch_argument "$1"
}

complete -F _qbatch qbatch
