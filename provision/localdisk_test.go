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
