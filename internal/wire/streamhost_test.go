package wire

import "testing"

func TestCellFirst(t *testing.T) {
	for name, c := range map[string]struct {
		spec Spec
		want bool
	}{
		"plain":                       {Spec{}, true},
		"volumes elsewhere":           {Spec{Mounts: []Mount{{Task: "/data"}, {Task: "/alloc/task-data"}}}, true},
		"a volume in the directory":   {Spec{Mounts: []Mount{{Task: "/data"}, {Task: "/alloc/x/../task/local/data"}}}, false},
		"a volume is the directory":   {Spec{Mounts: []Mount{{Task: "/alloc/task"}}}, false},
		"a volume above it":           {Spec{Mounts: []Mount{{Task: "/alloc/"}}}, false},
		"a volume at the root":        {Spec{Mounts: []Mount{{Task: "/"}}}, false},
		"names that only begin alike": {Spec{Mounts: []Mount{{Task: "/all"}, {Task: "/alloc/tas"}, {Task: "/alloc/..data"}}}, true},
		"content for the cache alone": {Spec{FetchOnly: true}, false},
	} {
		c.spec.TaskDir = "/alloc/task"
		if ahead := c.spec.CellAhead(); ahead == c.spec.FetchOnly {
			t.Errorf("%s, without content: ahead %v", name, ahead)
		}
		c.spec.Content = []Content{{}}
		if ahead := c.spec.CellAhead(); ahead != c.want {
			t.Errorf("%s, with content: ahead %v", name, ahead)
		}
		if got := c.spec.CellFirst(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
