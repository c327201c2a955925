package unixuser

import "testing"

func TestSeats(t *testing.T) {
	if err := Seats.Validate(); err != nil {
		t.Error(err)
	}
	apps, streamHosts := Seats.Split()
	if apps.String() != "2000000000-2000009999" || streamHosts.String() != "2000010000-2000019999" {
		t.Errorf("apps %s, stream hosts %s", apps, streamHosts)
	}
	apps, streamHosts = Range{1000, 1002}.Split()
	if apps != (Range{1000, 1000}) || streamHosts != (Range{1001, 1001}) || apps.Contains(1001) || !streamHosts.Contains(1001) {
		t.Errorf("of three uids: apps %s, stream hosts %s", apps, streamHosts)
	}
	for _, r := range []Range{{0, 10}, {999, 2000}, {5000, 5000}, {5000, 4000}, {2000, 1 << 31}} {
		if r.Validate() == nil {
			t.Errorf("%s is valid", r)
		}
	}
}
