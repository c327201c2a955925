package wire

import "time"

// GPUSeat is the device that jobs ask Nomad for: the share of a GPU that one seat needs. Below it
// are the models, such as GPUSeat+"/nvidia-l4".
//
//	resources {
//	  device "nearcast/gpu-seat" {}
//	}
const (
	GPUVendor = "nearcast"
	GPUType   = "gpu-seat"
	GPUSeat   = GPUVendor + "/" + GPUType
)

// What the device plugin tells the driver of a reservation, as variables of the task's devices.
const (
	EnvGPU      = "NEARCAST_GPU"        // the GPU's UUID, as NVIDIA's tools show it
	EnvGPUBusID = "NEARCAST_GPU_BUS_ID" // its address as the kernel writes it: 0000:3b:00.0
)

// GPUsFile is the file in the driver's run directory in which the device plugin tells the node's
// registrar how busy the GPUs are (GPUs). It writes the file anew each GPUsEvery, and what is older
// than GPUsFor counts as nothing: the plugin has ended.
const (
	GPUsFile  = "gpus.json"
	GPUsEvery = 5 * time.Second
	GPUsFor   = 6 * GPUsEvery
)

// GPUs is what NVML tells of a node's GPUs.
type GPUs struct {
	At   time.Time `json:"at"`
	GPUs []GPULoad `json:"gpus"`
}

// GPULoad is what is in use of one GPU, shares from 0 to 1. What the GPU does not tell is 0.
type GPULoad struct {
	ID      string  `json:"id"` // its UUID
	Busy    float64 `json:"busy"`
	Encoder float64 `json:"encoder"`
	Memory  float64 `json:"memory"`
	// Sessions are those of its encoder.
	Sessions int `json:"sessions"`
}
