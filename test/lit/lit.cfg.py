import os

import lit.formats
import lit.llvm
from lit.llvm import llvm_config

config.name = "moe"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs"]
config.test_source_root = os.path.dirname(__file__)

# A variable that one function of a test captured must not match in the next.
config.environment["FILECHECK_OPTS"] = "-enable-var-scope"

config.substitutions.append(("%project_source", config.project_source_dir))
config.substitutions.append(("%python", config.python_executable))

llvm_config.with_environment("PATH", config.llvm_tools_dir, append_path=True)
llvm_config.with_environment("PATH", config.moe_tools_dir, append_path=True)

# Built where there is a CUDA toolkit.
if os.path.exists(os.path.join(config.moe_tools_dir, "moe-profile")):
    config.available_features.add("moe-profile")
