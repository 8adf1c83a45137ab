"""The defences that PCVR is compared with: one file each."""
