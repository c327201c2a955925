package driver

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/nearcast/nearcast/internal/wire"
)

// nvidiaEncoder is the element that encodes on an NVIDIA GPU.
const nvidiaEncoder = "nvh264enc"

// noReservation is what a job lacks whose seats need a GPU.
const noReservation = `the job reserves no GPU, and Nomad would place more seats on one than it carries: add device "` + wire.GPUSeat + `" {} to the task's resources`

var pciAddress = regexp.MustCompile(`^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$`)

// reservedGPU starts the seat on the GPU that the device plugin gave its task. reserved has only
// what device plugins say, never the job.
func reservedGPU(spec *wire.Spec, needed bool, reserved map[string]string) error {
	spec.GPU = reserved[wire.EnvGPU]
	if spec.GPU == "" {
		if needed {
			return fmt.Errorf("task config: gpu = true: %s", noReservation)
		}
		return nil
	}
	bus := reserved[wire.EnvGPUBusID]
	m := pciAddress.FindStringSubmatch(bus)
	if m == nil {
		return fmt.Errorf("the reserved GPU %s has the bus id %q: want one such as 0000:3b:00.0; is nomad-device-seats of this release?", spec.GPU, bus)
	}
	var n [4]uint64
	for i := range n {
		n[i], _ = strconv.ParseUint(m[i+1], 16, 32) // the expression has hexadecimal digits alone
	}
	if spec.XServer.Driver != "" { // Xorg, or what auto may choose
		spec.XServer.BusID = fmt.Sprintf("PCI:%d@%d:%d:%d", n[1], n[0], n[2], n[3])
	}
	return nil
}
