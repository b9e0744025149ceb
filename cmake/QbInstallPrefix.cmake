# Run while installing, when the prefix is known: units that name the program where it is, the
# folder of the manifests that they read, and zsh's completion where zsh looks under this prefix.
set(prefix "${CMAKE_INSTALL_PREFIX}")
set(there "$ENV{DESTDIR}${prefix}")
if(prefix STREQUAL "/usr")
  set(QB_SYSCONFDIR /etc)
  set(zsh vendor-completions)
else()
  set(QB_SYSCONFDIR ${prefix}/etc)
  set(zsh site-functions)
endif()
set(QB_PROGRAM ${prefix}/${QB_BINDIR}/qbatch)
set(QB_LEFT ${prefix}/${QB_LIBEXECDIR}/qbatch/qbatch-left)

foreach(unit IN ITEMS qbatch@.service qbatch@.timer
    qbatch-left@.service qbatch-left@.path qbatch-left@.timer)
  configure_file(${QB_SOURCE}/configs/systemd/${unit}.in ${there}/lib/systemd/system/${unit} @ONLY
    FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ) # whatever the umask is
  message(STATUS "Installing: ${there}/lib/systemd/system/${unit}")
endforeach()
file(INSTALL ${QB_BINARY}/completions/_qbatch DESTINATION ${prefix}/${QB_DATADIR}/zsh/${zsh}) # adds DESTDIR
file(MAKE_DIRECTORY $ENV{DESTDIR}${QB_SYSCONFDIR}/qbatch)
message(STATUS "Installing: $ENV{DESTDIR}${QB_SYSCONFDIR}/qbatch")
