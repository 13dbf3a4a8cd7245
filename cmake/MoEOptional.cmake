# Libraries that are used where they are present and never required.
find_package(CUDAToolkit QUIET)
find_path(MOE_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(MOE_NCCL_LIBRARY NAMES nccl libnccl.so.2
             HINTS ${CUDAToolkit_LIBRARY_DIR})
find_package(MPI QUIET COMPONENTS CXX)
find_path(MOE_CBC_INCLUDE_DIR Cbc_C_Interface.h PATH_SUFFIXES coin)
find_library(MOE_CBC_LIBRARY CbcSolver)

find_package(mimalloc QUIET)

set(MOE_FOUND_NCCL OFF)
if(MOE_NCCL_INCLUDE_DIR AND MOE_NCCL_LIBRARY)
  set(MOE_FOUND_NCCL ON)
endif()
set(MOE_FOUND_CBC OFF)
if(MOE_CBC_INCLUDE_DIR AND MOE_CBC_LIBRARY)
  set(MOE_FOUND_CBC ON)
  # What programs ask for: up to the first number.
  file(REAL_PATH "${MOE_CBC_LIBRARY}" MOE_CBC_SONAME)
  cmake_path(GET MOE_CBC_SONAME FILENAME MOE_CBC_SONAME)
  string(REGEX REPLACE "(\\.so\\.[0-9]+).*" "\\1" MOE_CBC_SONAME
                       "${MOE_CBC_SONAME}")
endif()
foreach(entry "CUDA toolkit:${CUDAToolkit_FOUND}" "NCCL:${MOE_FOUND_NCCL}"
              "MPI:${MPI_CXX_FOUND}"
              "COIN-OR CBC:${MOE_FOUND_CBC}" "mimalloc:${mimalloc_FOUND}")
  string(REPLACE ":" ";" entry "${entry}")
  list(GET entry 0 what)
  list(GET entry 1 found)
  if(found)
    message(STATUS "${what}: found")
  else()
    message(STATUS "${what}: not found (optional)")
  endif()
endforeach()
