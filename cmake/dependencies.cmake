# Every library of others that flota links, in one place. docs/DEPENDENCIES.md says why each.
# They are linked statically: a host gets one file that needs nothing but its C library.

find_package(Threads REQUIRED)

# flota_static(NAME LIB…): an interface target over Debian's static archives.
function(flota_static name)
	add_library(${name} INTERFACE)
	foreach(lib ${ARGN})
		find_library(path_${lib} NAMES lib${lib}.a REQUIRED)
		target_link_libraries(${name} INTERFACE ${path_${lib}})
	endforeach()
endfunction()

flota_static(dep_uv uv_a)
target_link_libraries(dep_uv INTERFACE Threads::Threads dl)
flota_static(dep_protobuf_c protobuf-c)
flota_static(dep_ssl ssl crypto)
target_link_libraries(dep_ssl INTERFACE Threads::Threads dl)
flota_static(dep_crypto crypto)
target_link_libraries(dep_crypto INTERFACE Threads::Threads dl)
flota_static(dep_websockets websockets cap z)
target_link_libraries(dep_websockets INTERFACE dep_ssl)
flota_static(dep_sqlite sqlite3)
target_link_libraries(dep_sqlite INTERFACE Threads::Threads dl m)
flota_static(dep_jansson jansson)

# nng is built by us, patched: packaging/nng says why and does it (once, then it is a no-op). The
# thread sanitizer has to see into it, or it takes every hand-over through nng for a race.
set(nng_options)
set(nng_prefix ${CMAKE_SOURCE_DIR}/.deps/nng)
if(FLOTA_SANITIZE STREQUAL "thread")
	set(nng_options --sanitize=thread)
	set(nng_prefix ${nng_prefix}-thread)
endif()
set(FLOTA_NNG_PREFIX ${nng_prefix} CACHE PATH "where the patched nng is installed")
file(GLOB nng_inputs CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/packaging/nng/build
	${CMAKE_SOURCE_DIR}/packaging/nng/patches/*.patch)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${nng_inputs})
execute_process(COMMAND ${CMAKE_SOURCE_DIR}/packaging/nng/build ${nng_options} ${FLOTA_NNG_PREFIX}
	COMMAND_ERROR_IS_FATAL ANY)
add_library(dep_nng INTERFACE)
target_include_directories(dep_nng SYSTEM INTERFACE ${FLOTA_NNG_PREFIX}/include)
target_link_libraries(dep_nng INTERFACE ${FLOTA_NNG_PREFIX}/lib/libnng.a Threads::Threads)
