# What the compiler and the linker can do against a fault in the code that reads strangers' images:
# position-independent programs, no writable relocations, guarded stacks, checked string functions,
# and branches that only lead to where one is expected, where the processor knows that.
# system.hardening reads it from the finished files.
include(CheckCCompilerFlag)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# `target` is an interface library that everything links.  The sanitizers have their own checks.
function(qb_harden target)
  target_compile_options(${target} INTERFACE -fstack-protector-strong)
  foreach(flag IN ITEMS -fstack-clash-protection -fcf-protection)
    string(MAKE_C_IDENTIFIER QB_HAS${flag} known)
    check_c_compiler_flag(${flag} ${known})
    if(${known})
      target_compile_options(${target} INTERFACE ${flag})
    endif()
  endforeach()
  # Needs optimization; a distribution's own level, in CMAKE_C_FLAGS, is left alone.
  if(NOT CMAKE_C_FLAGS MATCHES "_FORTIFY_SOURCE")
    target_compile_definitions(${target} INTERFACE
      $<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=3>)
  endif()
  target_link_options(${target} INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endfunction()
