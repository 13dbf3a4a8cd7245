# Libraries that are used where they are present and never required.
find_package(CUDAToolkit QUIET)
find_path(MOE_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(MOE_NCCL_LIBRARY NAMES nccl libnccl.so.2
             HINTS ${CUDAToolkit_LIBRARY_DIR})
find_package(MPI QUIET COMPONENTS CXX)

set(MOE_FOUND_NCCL OFF)
if(MOE_NCCL_INCLUDE_DIR AND MOE_NCCL_LIBRARY)
  set(MOE_FOUND_NCCL ON)
endif()
foreach(entry "CUDA toolkit:${CUDAToolkit_FOUND}" "NCCL:${MOE_FOUND_NCCL}"
              "MPI:${MPI_CXX_FOUND}")
  string(REPLACE ":" ";" entry "${entry}")
  list(GET entry 0 what)
  list(GET entry 1 found)
  if(found)
    message(STATUS "${what}: found")
  else()
    message(STATUS "${what}: not found (optional)")
  endif()
endforeach()
