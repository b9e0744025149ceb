# A layer is a folder that sees only the layers named after DEPS.  Its public include path is a
# folder in the build tree with one link to its sources, so that including a layer above it fails
# to compile: there is no path on which the header could be found.
function(qb_layer name dir)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${dir}/*.c)
  get_filename_component(leaf ${dir} NAME)
  set(view ${CMAKE_BINARY_DIR}/layers/${name})
  file(MAKE_DIRECTORY ${view})
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR}/${dir} ${view}/${leaf} SYMBOLIC)
  add_library(qb_${name} STATIC ${sources})
  target_include_directories(qb_${name} PUBLIC ${view})
  target_link_libraries(qb_${name} PUBLIC qb_flags ${ARG_DEPS} ${ARG_LIBS})
  set_target_properties(qb_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden)
endfunction()
