# What is installed, in three parts: the programs (qbatch), the library (libqbatchN, N
# being its SONAME's), and what programs that use it are built with (libqbatch-dev).  `cpack -G DEB` makes a package of each.
set(program qbatch)
set(library libqbatch${QB_SOVERSION})
set(dev libqbatch-dev)
set(doc ${CMAKE_INSTALL_DATADIR}/doc/qbatch)
set(QB_MAINTAINER "qbatch maintainers <qbatch@lists.example.org>" CACHE STRING "Maintainer of the Debian packages")

install(TARGETS qbatch RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${program})
install(TARGETS libqbatch
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT ${library} NAMELINK_COMPONENT ${dev}
  PUBLIC_HEADER DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT ${dev})
install(FILES ${CMAKE_BINARY_DIR}/libqbatch.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT ${dev})
install(FILES configs/examples/amend.c
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${dev}/examples COMPONENT ${dev})

# ---- documentation ------------------------------------------------------------------------------
# Compressed, without a time inside, so that the same sources give the same bytes.
function(qb_compress from to)
  add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/${to}
    COMMAND gzip -9 -n < ${from} > ${CMAKE_BINARY_DIR}/${to} DEPENDS ${from} VERBATIM)
  set_property(GLOBAL APPEND PROPERTY QB_COMPRESSED ${CMAKE_BINARY_DIR}/${to})
endfunction()

function(qb_manual page)
  get_filename_component(name ${page} NAME)
  get_filename_component(section ${page} LAST_EXT)
  string(SUBSTRING ${section} 1 -1 section)
  qb_compress(${page} ${name}.gz)
  install(FILES ${CMAKE_BINARY_DIR}/${name}.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT ${program})
endfunction()

# The program itself knows its keys: it fills in this page, and prints the schemas.
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/qbatch-manifest.5 ${CMAKE_BINARY_DIR}/qbatch-manifest.schema.json
    ${CMAKE_BINARY_DIR}/qbatch-report.schema.json
  COMMAND qbatch help man-page < ${CMAKE_CURRENT_SOURCE_DIR}/batch/man/qbatch-manifest.5.in
    > ${CMAKE_BINARY_DIR}/qbatch-manifest.5
  COMMAND qbatch schema > ${CMAKE_BINARY_DIR}/qbatch-manifest.schema.json
  COMMAND qbatch schema report > ${CMAKE_BINARY_DIR}/qbatch-report.schema.json
  DEPENDS qbatch batch/man/qbatch-manifest.5.in VERBATIM)
add_custom_target(from_keys ALL DEPENDS ${CMAKE_BINARY_DIR}/qbatch-manifest.5)
qb_manual(${CMAKE_CURRENT_SOURCE_DIR}/batch/man/qbatch.1)
qb_manual(${CMAKE_CURRENT_SOURCE_DIR}/batch/man/qbatch-fleets.7)
qb_manual(${CMAKE_BINARY_DIR}/qbatch-manifest.5)
qb_manual(${CMAKE_CURRENT_SOURCE_DIR}/bench/man/qbatch-bench.1)
set(changelog ${CMAKE_BINARY_DIR}/changelog.Debian)
add_custom_command(OUTPUT ${changelog}
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/scripts/debian-changelog ${QB_MAINTAINER} > ${changelog}
  DEPENDS CHANGELOG.md scripts/debian-changelog VERBATIM)
qb_compress(${changelog} changelog.gz)
get_property(compressed GLOBAL PROPERTY QB_COMPRESSED)
add_custom_target(documents ALL DEPENDS ${compressed})

# ---- engines for many hosts ---------------------------------------------------------------------
# The Ansible collection, as ansible-galaxy takes it: without Ansible, and the same bytes each time.
set(collection ${CMAKE_BINARY_DIR}/qbatch-qbatch-${PROJECT_VERSION}.tar.gz)
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
  file(GLOB_RECURSE parts CONFIGURE_DEPENDS configs/ansible/*)
  add_custom_command(OUTPUT ${collection}
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/scripts/ansible-collection ${collection}
    DEPENDS ${parts} LICENSE CMakeLists.txt scripts/ansible-collection VERBATIM)
  add_custom_target(ansible-collection ALL DEPENDS ${collection})
  install(FILES ${collection} DESTINATION ${CMAKE_INSTALL_DATADIR}/qbatch COMPONENT ${program})
endif()

install(FILES README.md CHANGELOG.md SECURITY.md STABILITY.md DESTINATION ${doc} COMPONENT ${program})
install(DIRECTORY configs/examples DESTINATION ${doc} COMPONENT ${program} FILES_MATCHING PATTERN "*.yaml")
install(DIRECTORY configs/slurm configs/ssh configs/kubernetes DESTINATION ${doc}/examples COMPONENT ${program})
install(PROGRAMS configs/libvirt/qbatch-hook DESTINATION ${doc}/examples/libvirt COMPONENT ${program})
install(PROGRAMS configs/libvirt/qbatch-left DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/qbatch COMPONENT ${program})
install(FILES ${CMAKE_BINARY_DIR}/qbatch-manifest.schema.json ${CMAKE_BINARY_DIR}/qbatch-report.schema.json
  DESTINATION ${CMAKE_INSTALL_DATADIR}/qbatch COMPONENT ${program})
foreach(package IN ITEMS ${program} ${library} ${dev})
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} RENAME copyright COMPONENT ${package})
  install(FILES ${CMAKE_BINARY_DIR}/changelog.gz DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} COMPONENT ${package})
endforeach()

# ---- what depends on the prefix, which is known only when installing -----------------------------
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

install(CODE "
  set(QB_SOURCE \"${CMAKE_CURRENT_SOURCE_DIR}\")
  set(QB_BINARY \"${CMAKE_BINARY_DIR}\")
  set(QB_BINDIR \"${CMAKE_INSTALL_BINDIR}\")
  set(QB_LIBEXECDIR \"${CMAKE_INSTALL_LIBEXECDIR}\")
  set(QB_DATADIR \"${CMAKE_INSTALL_DATADIR}\")
  include(\"${CMAKE_CURRENT_SOURCE_DIR}/cmake/QbInstallPrefix.cmake\")
  " COMPONENT ${program})

# ---- packages -----------------------------------------------------------------------------------
set(CPACK_GENERATOR DEB)
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_POST_BUILD_SCRIPTS ${CMAKE_CURRENT_SOURCE_DIR}/cmake/QbDeb.cmake)
set(CPACK_PACKAGE_NAME qbatch)
set(CPACK_PACKAGE_CONTACT "${QB_MAINTAINER}")
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
set(CPACK_DEBIAN_${LIBRARY}_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_SOURCE_DIR}/configs/debian/triggers)
set(CPACK_COMPONENT_${LIBRARY}_DESCRIPTION "amends qcow2 images in place: the library")
set(CPACK_DEBIAN_${DEV}_PACKAGE_NAME ${dev})
set(CPACK_DEBIAN_${DEV}_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_${DEV}_PACKAGE_DEPENDS "${library} (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_${DEV}_PACKAGE_SHLIBDEPS OFF)
set(CPACK_COMPONENT_${DEV}_DESCRIPTION "amends qcow2 images in place: header and example")
include(CPack)
