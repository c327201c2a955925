package provision_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision"
)

// localDisks are disks as the kernel shows them: image files on loop devices.
type localDisks struct {
	t               *testing.T
	blocks, devices string
	cache           string
}

func (d *localDisks) add(name, model string, mib int, parts ...string) (device string) {
	d.t.Helper()
	image := filepath.Join(d.t.TempDir(), name)
	testkit.Must(d.t, os.WriteFile(image, nil, 0o600))
	testkit.Must(d.t, os.Truncate(image, int64(mib)<<20))
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		d.t.Skipf("no loop device: %s", out)
	}
	device = strings.TrimSpace(string(out))
	d.t.Cleanup(func() { exec.Command("losetup", "--detach", device).Run() })
	dir := filepath.Join(d.blocks, name)
	for _, sub := range append(parts, "device", "holders") {
		testkit.Must(d.t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	testkit.Must(d.t, os.WriteFile(filepath.Join(dir, "device/model"), []byte(model+"\n"), 0o644))
	testkit.Must(d.t, os.WriteFile(filepath.Join(dir, "size"), fmt.Appendln(nil, mib<<11), 0o644))
	testkit.Must(d.t, os.Symlink(device, filepath.Join(d.devices, name)))
	return device
}

// boot runs cache.sh as at a boot, and then a command in the same mount namespace.
func (d *localDisks) boot(then string) (said string, err error) {
	d.t.Helper()
	script, err := filepath.Abs("cache.sh")
	testkit.Must(d.t, err)
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `"$1" "$2" && "$1" "$2" && cd "$2" && `+then, "sh", script, d.cache)
	cmd.Env = append(os.Environ(), "NEARCAST_BLOCKS="+d.blocks, "NEARCAST_DEVICES="+d.devices)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func newLocalDisks(t *testing.T) *localDisks {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	return &localDisks{t: t, blocks: t.TempDir(), devices: t.TempDir(), cache: t.TempDir()}
}

const (
	instanceStore = "Amazon EC2 NVMe Instance Storage"
	blockStore    = "Amazon Elastic Block Store"
)

// The cache is on the largest local disk. What it holds is there after the next boot, and an
// empty disk, as after a stop, is formatted.
func TestCacheOnALocalDisk(t *testing.T) {
	d := newLocalDisks(t)
	root := d.add("nvme0n1", blockStore, 96, "nvme0n1p1")
	large := d.add("nvme1n1", instanceStore, 64)
	small := d.add("nvme2n1", instanceStore, 32)
	if said, err := d.boot("echo kept > file && findmnt -n -o SOURCE,OPTIONS . && stat -c %a ."); err != nil || !strings.Contains(said, large+" ") ||
		!strings.Contains(said, "nosuid,nodev,noatime") || !strings.HasSuffix(said, "\n711\n") {
		t.Fatalf("%v: %s", err, said)
	}
	if said, err := d.boot("cat file"); err != nil || !strings.HasSuffix(said, "kept\n") || strings.Contains(said, "made a file system") {
		t.Fatalf("after a boot: %v: %s", err, said)
	}
	for _, other := range []string{root, small} {
		if out, _ := exec.Command("blkid", "-p", other).CombinedOutput(); len(out) > 0 {
			t.Errorf("%s was written to: %s", other, out)
		}
	}
	// A superblock that lost its sense.
	testkit.Must(t, exec.Command("dd", "if=/dev/zero", "of="+large, "bs=1k", "seek=4", "count=2000", "conv=notrunc", "status=none").Run())
	if said, err := d.boot("! test -e file"); err != nil || !strings.Contains(said, "made a file system") {
		t.Errorf("with a broken file system: %v: %s", err, said)
	}
	testkit.Must(t, exec.Command("wipefs", "-q", "-a", large).Run())
	if said, err := d.boot("! test -e file && findmnt -n -o SOURCE ."); err != nil || !strings.Contains(said, large) {
		t.Errorf("after a stop: %v: %s", err, said)
	}
}

// What a seat has of its content are links to the cache's files, on nodes as they are configured: Nomad's folder of
// allocations is on the cache's disk, and of one mount with it.
func TestSeatsLinkTheirContent(t *testing.T) {
	d := newLocalDisks(t)
	v := valid(provision.Stream)
	v.Paths.Cache, v.Paths.NomadData = d.cache, t.TempDir()
	files, err := provision.Render(v, provision.Secrets{TicketKeys: "/k"})
	testkit.Must(t, err)
	var config string
	for _, f := range files {
		config += string(f.Text)
	}
	alloc := regexp.MustCompile(`alloc_dir += "(.+)"`).FindStringSubmatch(config)
	if alloc == nil {
		t.Fatalf("Nomad's client has its own folder of allocations: %s", config)
	}
	large := d.add("nvme1n1", instanceStore, 64)
	said, err := d.boot(fmt.Sprintf("mkdir -p objects %[1]s/id/run/local && echo x > objects/file && ln objects/file %[1]s/id/run/local/file && stat -c %%h objects/file && findmnt -n -o SOURCE --target %[1]s", alloc[1]))
	if err != nil || !strings.HasSuffix(strings.TrimSpace(said), "2\n"+large) {
		t.Errorf("no link from the cache into a seat: %v: %s", err, said)
	}
}

// A cache that gets its disk later is not mounted over what Nomad runs: that waits for the next boot.
func TestCacheIsNotMountedOverAllocations(t *testing.T) {
	d := newLocalDisks(t)
	disk := d.add("nvme1n1", instanceStore, 32)
	testkit.Must(t, exec.Command("mkfs.ext4", "-q", "-L", "nearcast-cache", disk).Run())
	fstab := filepath.Join(t.TempDir(), "fstab")
	testkit.Must(t, os.WriteFile(fstab, nil, 0o644))
	steps, err := filepath.Abs(".")
	testkit.Must(t, err)
	// install.sh's step and cache.sh, with a cache of their own at the usual place.
	install := func(allocations, step string) string {
		t.Helper()
		cmd := exec.Command("unshare", "--mount", "bash", "-euc", `mount -t tmpfs tmpfs /var/cache && mount --bind "$1" /etc/fstab
mkdir -p -m 711 /var/cache/nearcast && cd "$2" && . ./lib.sh && . steps/stream.sh
`+allocations+"\n"+step+`
findmnt -n -o FSTYPE /var/cache/nearcast || echo not mounted`, "bash", fstab, steps)
		cmd.Env = append(os.Environ(), "NEARCAST_BLOCKS="+d.blocks, "NEARCAST_DEVICES="+d.devices, "NEARCAST_CACHE_DEVICE="+disk)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	const running = `mkdir -p /var/cache/nearcast/alloc/9f/seat/secrets && mount -t tmpfs tmpfs /var/cache/nearcast/alloc/9f/seat/secrets`
	for name, step := range map[string]string{"install.sh": "content_cache", "cache.sh": "./cache.sh || echo status $?"} {
		if said := install(running, step); !strings.HasSuffix(said, "not mounted\n") || !strings.Contains(said, "at the next boot") {
			t.Errorf("%s over allocations: %s", name, said)
		}
		// ext4's label is in udev's list of the machine, which may not run: fstab names the device here.
		text, err := os.ReadFile(fstab)
		testkit.Must(t, err)
		testkit.Must(t, os.WriteFile(fstab, []byte(strings.ReplaceAll(string(text), "LABEL=nearcast-cache ", "#\n"+disk+" ")), 0o644))
		if said := install("true", step); !strings.HasSuffix(said, "ext4\n") || strings.Contains(said, "next boot") {
			t.Errorf("%s without allocations: %s", name, said)
		}
	}
	if text, err := os.ReadFile(fstab); err != nil || !strings.Contains(string(text), " /var/cache/nearcast ext4 ") {
		t.Errorf("the next boot does not mount the volume: %s (%v)", text, err)
	}
}

// An agent of an earlier release starts no seat while the folder of its allocations changes. Where it has allocations the
// folder stays, and so does the agent.
func TestAgentStopsBeforeItsFolderChanges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	const earlier = `echo 'client { enabled = true }' > /etc/nomad.d/client.hcl; `
	for name, c := range map[string]struct {
		before string
		stops  bool
	}{
		"an earlier release":    {earlier, true},
		"with allocations":      {earlier + `mkdir -p /var/lib/nomad/alloc/9f && mount -t tmpfs tmpfs /var/lib/nomad/alloc/9f`, false},
		"the folder is the new": {`echo '  alloc_dir = "/var/cache/nearcast/alloc"' > /etc/nomad.d/client.hcl`, false},
		"a new node":            {"", false},
		"an edge node":          {earlier + "role=edge", false},
	} {
		said, err := exec.Command("unshare", "--mount", "bash", "-euc", `. ./lib.sh && . steps/agents.sh
for dir in /etc /run /var/lib; do mount -t tmpfs tmpfs $dir; done
mkdir -p /etc/nomad.d /run/systemd/system
role=stream
systemctl() { echo "systemctl $*"; }
nearcast() { echo "nearcast $*" >&2; }
`+c.before+`
configuration`).CombinedOutput()
		if stops := strings.HasPrefix(string(said), "systemctl stop nomad.service\n"); err != nil || stops != c.stops || !strings.HasSuffix(string(said), "nearcast provision configure --timeout 2m\n") {
			t.Errorf("%s: %v: %s", name, err, said)
		}
	}
}

// A disk that has anything is left alone.
func TestCacheLeavesOtherDisksAlone(t *testing.T) {
	d := newLocalDisks(t)
	if said, err := d.boot("true"); err == nil || !strings.Contains(said, "no free local disk") {
		t.Errorf("without a disk: %v: %s", err, said)
	}
	d.add("nvme0n1", blockStore, 32)
	d.add("nvme1n1", instanceStore, 32, "nvme1n1p1")
	mine := d.add("nvme2n1", instanceStore, 32)
	testkit.Must(t, exec.Command("mkfs.ext4", "-q", "-L", "somebodys", mine).Run())
	// The signs of two things: of ext4, and of squashfs in the bytes before it.
	two := d.add("nvme3n1", instanceStore, 32)
	testkit.Must(t, exec.Command("mkfs.ext4", "-q", two).Run())
	sign := make([]byte, 96)
	copy(sign, "hsqs")
	sign[28] = 4 // its version
	device, err := os.OpenFile(two, os.O_WRONLY, 0)
	testkit.Must(t, err)
	_, err = device.WriteAt(sign, 0)
	testkit.Must(t, errors.Join(err, device.Close()))
	if said, err := d.boot("true"); err == nil || !strings.Contains(said, "no free local disk") || !strings.Contains(said, "somebodys") || !strings.Contains(said, "nvme1n1 has partitions") ||
		!strings.Contains(said, "blkid cannot say what nvme3n1 has") {
		t.Errorf("with the disks of others: %v: %s", err, said)
	}
	if out, _ := exec.Command("blkid", "-o", "value", "-s", "LABEL", "-p", mine).CombinedOutput(); string(out) != "somebodys\n" {
		t.Errorf("the disk has the label %s", out)
	}
}
