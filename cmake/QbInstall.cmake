# What is installed, in three parts: the program (qbatch), the library (libqbatch0), and what
# programs that use it are built with (libqbatch-dev).  `cpack -G DEB` makes a package of each.
set(program qbatch)
set(library libqbatch${PROJECT_VERSION_MAJOR})
set(dev libqbatch-dev)
set(doc ${CMAKE_INSTALL_DATADIR}/doc/qbatch)

install(TARGETS qbatch RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${program})
install(TARGETS libqbatch
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT ${library} NAMELINK_COMPONENT ${dev}
  PUBLIC_HEADER DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT ${dev})
install(FILES ${CMAKE_BINARY_DIR}/libqbatch.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT ${dev})
install(FILES configs/examples/amend.c
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${dev}/examples COMPONENT ${dev})

install(FILES batch/man/qbatch.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT ${program})
install(FILES batch/man/qbatch-manifest.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5 COMPONENT ${program})
install(FILES README.md CHANGELOG.md DESTINATION ${doc} COMPONENT ${program})
install(DIRECTORY configs/examples DESTINATION ${doc} COMPONENT ${program} FILES_MATCHING PATTERN "*.yaml")
install(FILES configs/qbatch-manifest.schema.json
  DESTINATION ${CMAKE_INSTALL_DATADIR}/qbatch COMPONENT ${program})
install(FILES configs/systemd/qbatch@.service configs/systemd/qbatch@.timer
  DESTINATION lib/systemd/system COMPONENT ${program})
foreach(package IN ITEMS ${program} ${library} ${dev})
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} RENAME copyright COMPONENT ${package})
endforeach()

# The program itself knows how it is completed.
set(completions ${CMAKE_BINARY_DIR}/completions)
add_custom_command(OUTPUT ${completions}/qbatch ${completions}/_qbatch
  COMMAND ${CMAKE_COMMAND} -E make_directory ${completions}
  COMMAND qbatch help completion bash > ${completions}/qbatch
  COMMAND qbatch help completion zsh > ${completions}/_qbatch
  DEPENDS qbatch VERBATIM)
add_custom_target(completions ALL DEPENDS ${completions}/qbatch ${completions}/_qbatch)
install(FILES ${completions}/qbatch
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT ${program})
install(FILES ${completions}/_qbatch
  DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions COMPONENT ${program})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME qbatch)
set(CPACK_PACKAGE_CONTACT "the qbatch authors <qbatch@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL ${program} ${library} ${dev})
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_QBATCH_PACKAGE_NAME ${program})
set(CPACK_DEBIAN_QBATCH_PACKAGE_SECTION admin)
set(CPACK_COMPONENT_QBATCH_DESCRIPTION "amends fleets of qcow2 images in place, fast and safely")
string(TOUPPER ${library} LIBRARY)
string(TOUPPER ${dev} DEV)
set(CPACK_DEBIAN_${LIBRARY}_PACKAGE_NAME ${library})
set(CPACK_DEBIAN_${LIBRARY}_PACKAGE_SECTION libs)
set(CPACK_COMPONENT_${LIBRARY}_DESCRIPTION "amends qcow2 images in place: the library")
set(CPACK_DEBIAN_${DEV}_PACKAGE_NAME ${dev})
set(CPACK_DEBIAN_${DEV}_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_${DEV}_PACKAGE_DEPENDS "${library} (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_${DEV}_PACKAGE_SHLIBDEPS OFF)
set(CPACK_COMPONENT_${DEV}_DESCRIPTION "amends qcow2 images in place: header and example")
include(CPack)
