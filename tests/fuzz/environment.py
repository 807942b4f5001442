"""Environment variables of the processes that run cases."""

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg"}
"""Set before torch is imported: forking is only safe while the parent has no threads."""
