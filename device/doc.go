// Package device is a device plugin of Nomad: it offers each NVIDIA GPU of a node as a number of
// seats, so that Nomad places no more seats on a GPU than it carries, and each seat knows its GPU.
//
//	plugin "nomad-device-seats" {      # in the agent's configuration
//	  config {
//	    seats_per_gpu = 2              # 1 unless it is set
//	    model {
//	      name  = "nvidia-l4"          # as in the device's name
//	      seats = 4
//	    }
//	    encoder_sessions = 8           # that the GPU's driver allows at once; 0, the default, is no limit
//	    run_dir = "/run/nearcast"      # the default; the run_dir of the seats' driver
//	  }
//	}
//
// All of config may be left out, but not the block: Nomad starts only plugins that its configuration
// names.
//
// A job asks for one of them:
//
//	resources {
//	  device "nearcast/gpu-seat" {}    # or "nearcast/gpu-seat/nvidia-l4"
//	}
//
// The GPUs of one model are one device group, nearcast/gpu-seat/MODEL. Its instances are
// "GPU-<uuid>:0", "GPU-<uuid>:1" and so on, each with the bus id of its GPU. The group's attributes
// are what one seat has, so that a job may demand it: memory (of the GPU, divided by its seats),
// encoder_sessions (likewise, where they are limited), driver_version and seats_per_gpu. Shares are
// counted, not enforced: a seat that takes more memory than its share takes it from the others.
//
// Health: a GPU that NVML cannot reach any more, and one that reported a critical error (Xid) that
// no program causes, is unhealthy with the reason until the plugin starts anew. Nomad places
// nothing there; seats that run stay. A GPU in MIG mode is not offered.
//
// Where NVML itself does not answer, or none of the GPUs, all GPUs are unhealthy, and it is stopped and started again at each look until it
// answers. Handles and event sets are void then, so nobody uses one meanwhile.
//
// A node without NVIDIA's library libnvidia-ml.so.1, or without its kernel module, has no devices
// and says so in the agent's log. The plugin goes on looking.
//
// Reserve gives the seats' driver the GPU's UUID and bus id (wire.EnvGPU, wire.EnvGPUBusID), CUDA
// this GPU alone (CUDA_VISIBLE_DEVICES), and the GPU's device files. It refuses two GPUs for one
// task, ids that it does not know, and GPUs that are unhealthy.
//
// How busy the GPUs are it writes every five seconds into wire.GPUsFile in the driver's run directory:
// the driver, which holds seats, must not call NVML.
//
// Not run with a GPU: its tests have NVML's mock, and no kernel module was loaded anew.
package device
