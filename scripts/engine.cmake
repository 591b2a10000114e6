# Read by llama-cpp-python's own CMakeLists.txt (CMAKE_PROJECT_llama_cpp_INCLUDE): the same libraries in less than half of the
# time. The kernels (ggml) and llama.cpp itself keep their compiler options.

# A variable hides the cache's entry that CMakeLists.txt sets: what llama.cpp's own tools share is loaded by nothing here.
set(LLAMA_BUILD_COMMON OFF)

function(compile_sooner)
    set(headers <algorithm> <functional> <map> <memory> <set> <sstream> <string> <thread> <unordered_map> <vector>)
    target_precompile_headers(llama PRIVATE ${headers} <regex>)
    if(NOT TARGET mtmd)
        return()
    endif()
    target_precompile_headers(mtmd PRIVATE ${headers})
    # It reads images and sound; what it computes with them is computed by ggml.
    target_compile_options(mtmd PRIVATE -O2)
    # The forty architectures, sixteen to a file, as llama.cpp compiles its own. The other sources define the same names.
    get_target_property(others mtmd SOURCES)
    get_target_property(folder mtmd SOURCE_DIR)
    list(FILTER others EXCLUDE REGEX "^models/")
    list(TRANSFORM others PREPEND "${folder}/")
    set_source_files_properties(${others} TARGET_DIRECTORY mtmd PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    set_target_properties(mtmd PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 16)
endfunction()

# When all targets are known.
cmake_language(DEFER CALL compile_sooner)
