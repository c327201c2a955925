package device

import (
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/hashicorp/go-hclog"
)

// NewQuick is New for a test that does not wait ten seconds for a look.
func NewQuick(log hclog.Logger, lib nvml.Interface) *Plugin {
	p := New(log, lib)
	p.period = 50 * time.Millisecond
	return p
}
