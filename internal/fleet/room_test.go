package fleet

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestRoom changes what a brain says of its room: watchers see it, and who reads once.
func TestRoom(t *testing.T) {
	f, err := Open(Config{Address: testkit.StartConsul(t).Address})
	testkit.Must(t, err)
	defer f.Close()
	brain, err := f.RegisterInstance(t.Context(), wire.BrainService, wire.Instance{ID: "b", Site: "dc1", URL: "wss://b.example", Address: "127.0.0.1:9", Key: "k"})
	testkit.Must(t, err)
	defer brain.Close()
	seen := make(chan []wire.Instance, 64)
	f.WatchInstances(t.Context(), wire.BrainService, func(list []wire.Instance) { seen <- list })
	for _, room := range []wire.Room{wire.RoomEnough, wire.RoomBusy, wire.RoomFull, wire.RoomEnough} {
		brain.SetRoom(room)
		deadline := time.After(time.Minute)
		for found := false; !found; {
			select {
			case list := <-seen:
				found = len(list) == 1 && list[0].Room == room && list[0].Healthy && list[0].Key == "k"
			case <-deadline:
				t.Fatalf("nobody sees that the brain's room is %q", room)
			}
		}
		list, err := f.Instances(t.Context(), wire.BrainService)
		testkit.Must(t, err)
		if len(list) != 1 || list[0].Room != room {
			t.Errorf("read once: %+v", list)
		}
	}
	// What other sites are read by, in full.
	testkit.Must(t, f.PublishApp(t.Context(), wire.App{ID: "chess"}))
	testkit.Must(t, f.PublishSite(t.Context(), wire.SiteInfo{Site: "dc1", GPU: []string{"g"}}))
	apps, err := f.Apps(t.Context())
	testkit.Must(t, err)
	info, err := f.At("dc1").SiteInfo(t.Context())
	testkit.Must(t, err)
	if len(apps) != 1 || apps["chess"].ID != "chess" || len(info.GPU) != 1 {
		t.Errorf("%+v, %+v", apps, info)
	}
	if _, err := f.At("nowhere").Apps(t.Context()); err == nil {
		t.Error("a site that there is not has apps")
	}
}
