# Run by cpack once the packages are made: packs them again, so that they depend on nothing but the
# sources and the tools.  cpack gives folders the modes that the umask left them, and its
# Installed-Size counts what they take on the file system of the build; here the size is counted as
# dpkg-gencontrol does, in whole KiB for a file and one for all else.  dpkg-deb clamps times to
# SOURCE_DATE_EPOCH, if that is set.
find_program(DPKG_DEB dpkg-deb)
if(NOT DPKG_DEB)
  message(WARNING "dpkg-deb is not installed: the packages stay as cpack made them")
  return()
endif()

function(qb_count tree out)
  set(kib 1) # the root
  file(GLOB_RECURSE paths LIST_DIRECTORIES true ${tree}/*)
  foreach(path IN LISTS paths)
    set(size 1)
    if(IS_DIRECTORY ${path} AND NOT IS_SYMLINK ${path})
      file(CHMOD ${path} DIRECTORY_PERMISSIONS
        OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
    elseif(NOT IS_SYMLINK ${path})
      file(SIZE ${path} size)
      math(EXPR size "(${size} + 1023) / 1024")
    endif()
    if(NOT path MATCHES "/DEBIAN(/|$)")
      math(EXPR kib "${kib} + ${size}")
    endif()
  endforeach()
  set(${out} ${kib} PARENT_SCOPE)
endfunction()

list(FILTER CPACK_PACKAGE_FILES INCLUDE REGEX "\\.deb$")
foreach(package IN LISTS CPACK_PACKAGE_FILES)
  set(tree ${package}.tree)
  execute_process(COMMAND ${DPKG_DEB} -R ${package} ${tree} COMMAND_ERROR_IS_FATAL ANY)
  qb_count(${tree} kib)
  file(READ ${tree}/DEBIAN/control control)
  string(REGEX REPLACE "Installed-Size: [0-9]+" "Installed-Size: ${kib}" control "${control}")
  file(WRITE ${tree}/DEBIAN/control "${control}")
  execute_process(COMMAND ${DPKG_DEB} --root-owner-group -b ${tree} ${package}
    OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  file(REMOVE_RECURSE ${tree})
endforeach()
