# The compiler's settings and the three functions by which a folder says what it holds.

option(FLOTA_FUZZ "build the libFuzzer targets (clang only)" OFF)
set(FLOTA_SANITIZE none CACHE STRING "none, address or thread")

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(GNUInstallDirs)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
	set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

set(FLOTA_WARNINGS -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
	-Wvla -Wformat=2 -Wundef -Wpointer-arith -Wwrite-strings -Wswitch-enum
	-Wno-error=deprecated-declarations -Werror)

add_compile_definitions(_GNU_SOURCE FLOTA_VERSION="${PROJECT_VERSION}")
add_compile_options(-fno-strict-aliasing -fno-common -fstack-protector-strong
	-ffunction-sections -fdata-sections -g)
add_link_options(-Wl,--gc-sections -Wl,-z,relro,-z,now)
include_directories(${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})

if(FLOTA_SANITIZE STREQUAL "address")
	add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
	add_link_options(-fsanitize=address,undefined)
elseif(FLOTA_SANITIZE STREQUAL "thread")
	add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
	add_link_options(-fsanitize=thread)
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
	add_compile_definitions(_FORTIFY_SOURCE=2)
	# The same bytes wherever it is built.
	add_compile_options(-ffile-prefix-map=${CMAKE_SOURCE_DIR}/= -ffile-prefix-map=${CMAKE_BINARY_DIR}=.)
endif()

# libFuzzer is led by what the libraries do with its input, so they report it.
if(FLOTA_FUZZ)
	add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# flota_library(NAME SOURCES… DEPS…): the static library of a folder.
function(flota_library name)
	cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
	add_library(${name} STATIC ${ARG_SOURCES})
	target_compile_options(${name} PRIVATE ${FLOTA_WARNINGS})
	target_link_libraries(${name} PUBLIC ${ARG_DEPS})
endfunction()

# flota_page(PROGRAM NAME.SECTION): a manual page, which is what `PROGRAM man NAME` says, in the
# build folder's man/.
function(flota_page program page)
	string(REGEX REPLACE "\\.([0-9])$" "" name ${page})
	set(section ${CMAKE_MATCH_1})
	set(file ${CMAKE_BINARY_DIR}/man/${page})
	file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/man)
	add_custom_command(OUTPUT ${file} COMMAND ${program} man ${name} > ${file}
		DEPENDS ${program} VERBATIM)
	add_custom_target(${page} ALL DEPENDS ${file})
	install(FILES ${file} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT ${program})
endfunction()

# flota_program(NAME PAGES NAME.SECTION… SOURCES… DEPS…): an executable in the build folder's bin/,
# and its manual pages. What is installed of it and beside it is a component of the program's name,
# and a package (packaging/build-packages).
function(flota_program name)
	cmake_parse_arguments(ARG "" "" "PAGES;SOURCES;DEPS" ${ARGN})
	add_executable(${name} ${ARG_SOURCES})
	target_compile_options(${name} PRIVATE ${FLOTA_WARNINGS})
	target_link_libraries(${name} PRIVATE ${ARG_DEPS})
	set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
	install(TARGETS ${name} COMPONENT ${name})
	foreach(page ${ARG_PAGES})
		flota_page(${name} ${page})
	endforeach()
endfunction()

# flota_test(NAME SOURCES… DEPS… LABELS…): a cmocka binary, run by ctest. The time limit is a
# safety net for a hang, never a measure.
function(flota_test name)
	cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LABELS" ${ARGN})
	add_executable(${name} ${ARG_SOURCES})
	target_compile_options(${name} PRIVATE ${FLOTA_WARNINGS})
	target_link_libraries(${name} PRIVATE ${ARG_DEPS} cmocka)
	set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
	add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
	if(NOT ARG_LABELS)
		set(ARG_LABELS unit)
	endif()
	set_tests_properties(${name} PROPERTIES TIMEOUT 300 LABELS "${ARG_LABELS}"
		ENVIRONMENT "FLOTA_BIN=${CMAKE_BINARY_DIR}/bin")
endfunction()

# flota_fuzz(NAME SOURCES… DEPS… CORPUS dir): a libFuzzer target; and, in every build, the same
# source linked with tests/fuzz/replay.c so that the committed corpus runs as a unit test.
function(flota_fuzz name)
	cmake_parse_arguments(ARG "" "CORPUS" "SOURCES;DEPS" ${ARGN})
	if(FLOTA_FUZZ)
		add_executable(${name} ${ARG_SOURCES})
		target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
		target_link_options(${name} PRIVATE -fsanitize=fuzzer)
		target_link_libraries(${name} PRIVATE ${ARG_DEPS})
		set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
	endif()
	add_executable(${name}_replay ${ARG_SOURCES} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
	target_link_libraries(${name}_replay PRIVATE ${ARG_DEPS})
	set_target_properties(${name}_replay PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
	add_test(NAME ${name}_replay COMMAND ${name}_replay ${ARG_CORPUS})
	set_tests_properties(${name}_replay PROPERTIES TIMEOUT 300 LABELS "unit;fuzz")
endfunction()
