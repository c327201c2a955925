package wire

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
