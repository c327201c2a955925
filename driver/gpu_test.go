package driver

import (
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

func TestReservedGPU(t *testing.T) {
	auto := wire.XServer{Server: wire.ServerAuto, Driver: "nvidia", BusID: "PCI:1:0:0"}
	for _, c := range []struct {
		name    string
		server  wire.XServer
		needed  bool
		env     map[string]string
		gpu     string
		busID   string
		refused string
	}{
		{"no reservation: as the operator says", auto, false, nil, "", "PCI:1:0:0", ""},
		{"the job needs one", auto, true, nil, "", "", `add device "nearcast/gpu-seat" {} to the task's resources`},
		{"the reserved one", auto, true, map[string]string{wire.EnvGPU: "GPU-a", wire.EnvGPUBusID: "0000:3b:00.0"}, "GPU-a", "PCI:59@0:0:0", ""},
		{"a domain of its own", auto, false, map[string]string{wire.EnvGPU: "GPU-a", wire.EnvGPUBusID: "10de:0a:1f.0"}, "GPU-a", "PCI:10@4318:31:0", ""},
		{"it only encodes", wire.XServer{Server: wire.ServerXvfb}, true, map[string]string{wire.EnvGPU: "GPU-a", wire.EnvGPUBusID: "0000:3b:00.0"}, "GPU-a", "", ""},
		{"no bus id", auto, false, map[string]string{wire.EnvGPU: "GPU-a"}, "", "", `has the bus id ""`},
		{"more than a bus id", auto, false, map[string]string{wire.EnvGPU: "GPU-a", wire.EnvGPUBusID: "0000:3b:00.0\"\nOption"}, "", "", "has the bus id"},
	} {
		spec := &wire.Spec{XServer: c.server}
		err := reservedGPU(spec, c.needed, c.env)
		switch {
		case c.refused != "":
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v, want an error with %q", c.name, err, c.refused)
			}
		case err != nil || spec.GPU != c.gpu || spec.XServer.BusID != c.busID:
			t.Errorf("%s: GPU %q at %q, %v; want %q at %q", c.name, spec.GPU, spec.XServer.BusID, err, c.gpu, c.busID)
		}
		if err == nil && spec.XServer.BusID != "" && !xorgBusID.MatchString(spec.XServer.BusID) {
			t.Errorf("%s: Xorg does not read %q", c.name, spec.XServer.BusID)
		}
	}
}
