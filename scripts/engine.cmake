# Read by llama-cpp-python's CMakeLists.txt (CMAKE_PROJECT_llama_cpp_INCLUDE): builds the same libraries in less than half of
# the time. The kernels (ggml) and llama.cpp keep their compiler options, except for tiles that this machine cannot run.

# A variable overrides the cache entry of CMakeLists.txt: no library here loads the common code of llama.cpp's tools.
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

# GCC 12 takes the load of a tile configuration for a read of 8 bytes instead of 64 and drops the stores of the others, so
# that llama.cpp's first AMX product ends the process; and a virtual machine may list AMX without letting programs use it.
# So a configuration is loaded here as llama.cpp does it, and without success the kernels are compiled without AMX.
function(leave_out_broken_tiles)
    include(CheckCXXCompilerFlag)
    include(CheckCXXSourceRuns)
    check_cxx_compiler_flag(-mno-amx-tile COMPILER_KNOWS_TILES)
    set(CMAKE_REQUIRED_FLAGS "-O2 -march=native")
    check_cxx_source_runs([[
        #include <cstring>
        #include <immintrin.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        struct alignas(64) Tiles {
            unsigned char palette, first_row, reserved[14];
            unsigned short columns[16];
            unsigned char rows[16];
        };
        __attribute__((noinline)) static void fill_stack() {
            unsigned char stack[1024];
            std::memset(stack, 0xff, sizeof stack);
            asm volatile("" : : "r"(stack) : "memory");
        }
        __attribute__((noinline)) static void configure() {
            Tiles tiles{};
            tiles.palette = 1;
            for (int i = 0; i < 8; ++i) tiles.rows[i] = 16, tiles.columns[i] = 64;
            _tile_loadconfig(&tiles);
        }
        int main() {
            constexpr int request_permission = 0x1023, tile_data = 18;
            if (syscall(SYS_arch_prctl, request_permission, tile_data)) return 1;
            fill_stack();
            configure();
            Tiles tiles{};
            _tile_storeconfig(&tiles);
            asm volatile("" : : "r"(&tiles) : "memory");
            return tiles.rows[7] != 16 || tiles.columns[7] != 64;
        }
    ]] TILES_RUN)
    if(COMPILER_KNOWS_TILES AND NOT TILES_RUN AND TARGET ggml-cpu)
        target_compile_options(ggml-cpu PRIVATE -mno-amx-tile -mno-amx-int8 -mno-amx-bf16)
    endif()
endfunction()

# When all targets are known.
cmake_language(DEFER CALL compile_sooner)
cmake_language(DEFER CALL leave_out_broken_tiles)
