package capture

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	testkit.Must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	testkit.Must(t, os.WriteFile(file, []byte(text), 0o644))
}

// What the quotas of cgroups leave, of both versions, also of those above.
func TestQuotaLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		list  string
		files map[string]string // below the root, before
		then  map[string]string // a second later
		want  []float64         // of each cgroup, its own first; NaN has no quota
	}{
		"version 2": {
			"0::/nomad/seat/host\n",
			map[string]string{"nomad/seat/host/cpu.max": "max 100000", "nomad/seat/cpu.max": "200000 100000",
				"nomad/seat/cpu.stat": "usage_usec 5000000\nnr_throttled 3"},
			map[string]string{"nomad/seat/cpu.stat": "usage_usec 6500000\nnr_throttled 3"},
			[]float64{math.NaN(), 0.5, math.NaN(), math.NaN()},
		},
		"version 2, throttled": {
			"0::/seat\n",
			map[string]string{"seat/cpu.max": "200000 100000", "seat/cpu.stat": "usage_usec 0\nnr_throttled 3"},
			map[string]string{"seat/cpu.stat": "usage_usec 100\nnr_throttled 4"},
			[]float64{0, math.NaN()},
		},
		"version 1": {
			"4:memory:/a\n3:cpu,cpuacct:/seat\n0::/\n",
			map[string]string{"cpu,cpuacct/seat/cpu.cfs_quota_us": "50000", "cpu,cpuacct/seat/cpu.cfs_period_us": "100000",
				"cpu,cpuacct/seat/cpuacct.usage": "1000000000", "cpu,cpuacct/seat/cpu.stat": "nr_periods 1\nnr_throttled 0",
				"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
			map[string]string{"cpu,cpuacct/seat/cpuacct.usage": "1400000000"},
			[]float64{0.1, math.NaN(), math.NaN()},
		},
		"a cgroup that cannot be seen": {"0::/elsewhere\n", nil, nil, nil},
		"nonsense":                     {"x\n1:2\n", nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			list := filepath.Join(root, "list")
			write(t, list, c.list)
			for file, text := range c.files {
				write(t, filepath.Join(root, file), text)
			}
			groups := cpuGroups(list, root)
			if len(groups) != len(c.want) {
				t.Fatalf("cgroups %+v, want %d", groups, len(c.want))
			}
			for i := range groups {
				groups[i].left(0)
			}
			for file, text := range c.then {
				write(t, filepath.Join(root, file), text)
			}
			for i := range groups {
				left, limited := groups[i].left(time.Second)
				if limited == math.IsNaN(c.want[i]) || limited && math.Abs(left-c.want[i]) > 1e-9 {
					t.Errorf("%s: %v processors are left, limited: %v, want %v", groups[i].dir, left, limited, c.want[i])
				}
			}
		})
	}
}

// Of the real node, what is left is between nothing and all.
func TestProcessorsLeft(t *testing.T) {
	m := newCPUMeter()
	if _, ok := m.left(time.Now()); ok {
		t.Error("the first call has a mean of nothing")
	}
	testkit.Until(t, "a measurement", func() bool {
		left, ok := m.left(time.Now())
		if ok && (left < 0 || left > float64(runtime.NumCPU())+0.1) {
			t.Fatalf("%v processors are left", left)
		}
		return ok
	})
}
