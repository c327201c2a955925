package driver

import (
	"time"

	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/fsisolation"

	"github.com/nearcast/nearcast/internal/version"
)

const (
	// Name is what a job says: driver = "stream".
	Name = "stream"

	// handleVersion is the version of State. Raise it when the meaning of State changes.
	handleVersion = 1

	// lease is how long a claimed seat waits for its browser. It is part of the
	// protocol between brain and seat, so operators cannot set it.
	lease = 15 * time.Second
)

var info = &base.PluginInfoResponse{
	Type:              base.PluginTypeDriver,
	PluginApiVersions: []string{drivers.ApiVersion010},
	PluginVersion:     version.String(),
	Name:              Name,
}

var capabilities = &drivers.Capabilities{
	SendSignals: true,
	Exec:        true,
	// Nomad makes no root directory for the task: the keeper makes the cell's. docs/DRIVER.md
	// says what an app finds there.
	FSIsolation: fsisolation.None,
	// The stream host must reach browsers and Consul through the node's network.
	// What the app may reach is in its task's config: network.
	NetIsolationModes: []drivers.NetIsolationMode{drivers.NetIsolationModeHost},
	// Nomad v1.11.2 does not send this over gRPC and assumes All.
	MountConfigs: drivers.MountConfigSupportAll,
}
