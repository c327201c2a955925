package driver

import (
	"os"
	"slices"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nearcast/nearcast/internal/wire"
)

// TestPermitRefuses: each text names the job's value, and what the operator would change.
func TestPermitRefuses(t *testing.T) {
	const (
		refusedUser    = `user = "games": the operator of this node does not allow it; leave user empty, and the seat gets one of its own (or add it to allow.users in the plugin's config)`
		refusedVolume  = `the task has a volume at /data: the operator of this node allows none (allow.volumes in the plugin's config)`
		refusedDevice  = `the task asks for the device /dev/kvm: the operator of this node allows none (allow.devices in the plugin's config)`
		refusedNetwork = `network = "host": the operator of this node allows none (allow.networks in the plugin's config)`
	)
	none := []string{"none"}
	volumes := []wire.Mount{{Node: "/srv", Task: "/data"}}
	for name, c := range map[string]struct {
		allow   allowed
		spec    wire.Spec
		user    string
		devices []string
		want    string
	}{
		"user":         {allowed{networks: none}, wire.Spec{Network: "none"}, "games", nil, refusedUser},
		"another user": {allowed{users: []string{"nobody", "games:games"}, networks: none}, wire.Spec{Network: "none"}, "games", nil, refusedUser},
		"network": {allowed{networks: []string{"none", "internet"}}, wire.Spec{Network: "host"}, "", nil,
			`network = "host": the operator of this node allows none, internet (allow.networks in the plugin's config)`},
		"every network": {allowed{}, wire.Spec{Network: "host"}, "", nil, refusedNetwork},
		"volume":        {allowed{networks: none}, wire.Spec{Network: "none", Mounts: volumes}, "", nil, refusedVolume},
		"device":        {allowed{networks: none}, wire.Spec{Network: "none"}, "", []string{"/dev/kvm"}, refusedDevice},
		"another device": {allowed{networks: none, devices: []string{"/dev/nvidia*"}}, wire.Spec{Network: "none"}, "", []string{"/dev/nvidia0", "/dev/nvidia/../kvm"},
			`the task asks for the device /dev/nvidia/../kvm: the operator of this node allows /dev/nvidia* (allow.devices in the plugin's config)`},
		"the directory above": {allowed{networks: none, devices: []string{"/dev/dri/*"}}, wire.Spec{Network: "none"}, "", []string{"/dev/dri/.."},
			`the task asks for the device /dev/dri/..: the operator of this node allows /dev/dri/* (allow.devices in the plugin's config)`},
		"all of it": {allowed{}, wire.Spec{Network: "host", Mounts: volumes}, "games", []string{"/dev/kvm"},
			refusedUser + "\n" + refusedNetwork + "\n" + refusedVolume + "\n" + refusedDevice},
	} {
		if err := c.allow.permit(&c.spec, c.user, devicesOf(c.devices)); err == nil || err.Error() != c.want {
			t.Errorf("%s\ngot  %v\nwant %s", name, err, c.want)
		}
	}
}

// TestPermitRoot: root by any name needs allow.users to say root.
func TestPermitRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("without root the user of a job has no effect")
	}
	s := wire.Spec{Network: "none"}
	err := allowed{users: []string{"0:0"}, networks: []string{"none"}}.permit(&s, "0:0", nil)
	if want := `user = "0:0" is root, which this node allows only where allow.users names root`; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func devicesOf(paths []string) (all []*drivers.DeviceConfig) {
	for _, p := range paths {
		all = append(all, &drivers.DeviceConfig{HostPath: p, TaskPath: p})
	}
	return all
}

func TestPermit(t *testing.T) {
	a := allowed{users: []string{"nobody", "root", "0:0"}, networks: []string{"host"}, volumes: true, devices: []string{"/dev/nvidia*", "/dev/dri/*"}}
	for _, user := range []string{"", "nobody", "root", "0:0"} {
		s := wire.Spec{Network: "host", Mounts: []wire.Mount{{Node: "/srv", Task: "/data"}}, Devices: []string{"/dev/uinput"}}
		if err := a.permit(&s, user, devicesOf([]string{"/dev/nvidia0", "/dev/dri/renderD128"})); err != nil {
			t.Errorf("user %q: %v", user, err)
		}
		if want := []string{"/dev/uinput", "/dev/nvidia0", "/dev/dri/renderD128"}; !slices.Equal(s.Devices, want) {
			t.Errorf("devices %v", s.Devices)
		}
	}
}
