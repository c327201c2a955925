package prefix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func v4(subnet, host byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, subnet, host}) }

// between puts a and b on one side of an ocean, c on the other.
func between(a, b string) (float64, float64) {
	if (a == "c") != (b == "c") {
		return 180, 10
	}
	return 15, 3
}

func add(t *testing.T, s *Store, at time.Time, from netip.Addr, rtt map[string]float64) {
	t.Helper()
	if err := s.Add(at, from, rtt); err != nil {
		t.Fatal(err)
	}
}

func hints(s *Store, at time.Time, from netip.Addr) string {
	out := ""
	for _, h := range s.Hints(at, from) {
		out += fmt.Sprintf("%s %.0f±%.0f ", h.Site, h.RTT, h.Error)
	}
	return out
}

// networks is how many networks are kept.
func networks(s *Store) int {
	n := 0
	for i := range s.shards {
		s.shards[i].mu.Lock()
		n += len(s.shards[i].networks)
		s.shards[i].mu.Unlock()
	}
	return n
}

func TestAgreement(t *testing.T) {
	s := New(Config{Between: between})
	add(t, s, noon, v4(0, 1), map[string]float64{"b": 30, "a": 20, "c": 190})
	add(t, s, noon, v4(0, 2), map[string]float64{"a": 22, "b": 34})
	if got := hints(s, noon, v4(0, 9)); got != "" {
		t.Errorf("two people are %q", got)
	}
	// The same person again is no third one.
	add(t, s, noon, v4(0, 2), map[string]float64{"a": 23, "b": 34})
	if got := hints(s, noon, v4(0, 9)); got != "" {
		t.Errorf("two people, one of them twice, are %q", got)
	}
	add(t, s, noon, v4(0, 3), map[string]float64{"a": 24, "b": 90})
	if got := hints(s, noon, v4(0, 9)); got != "a 23±6 " {
		t.Errorf("of three people, two of whom agree on b: %q", got)
	}
	if got := hints(s, noon, v4(1, 9)); got != "" {
		t.Errorf("another network gets %q", got)
	}
	add(t, s, noon, v4(0, 4), map[string]float64{"b": 32})
	if got := hints(s, noon, v4(0, 200)); got != "a 23±6 b 32±6 " {
		t.Errorf("of four: %q", got)
	}
}

func TestDoubtfulReportsLeaveNoTrace(t *testing.T) {
	s := New(Config{Between: between, Quorum: 1})
	for name, lie := range map[string]map[string]float64{
		"0 ms to everywhere":          {"a": 0, "b": 0, "c": 0},
		"0 ms to one that is far":     {"a": 20, "b": 25, "c": 0},
		"far from one next to a near": {"a": 5, "b": 200},
	} {
		if err := s.Add(noon, v4(0, 1), lie); !errors.Is(err, ErrDoubtful) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := hints(s, noon, v4(0, 1)); got != "" || networks(s) != 0 {
		t.Errorf("left %q, %d networks", got, networks(s))
	}
}

// TestFewLiarsAreOutvoted checks false reports that contradict nothing: they are
// outvoted while they are fewer.
func TestFewLiarsAreOutvoted(t *testing.T) {
	s := New(Config{})
	for i := range byte(maxReports) {
		rtt := map[string]float64{"a": 20 + float64(i), "b": 60}
		if i < 3 {
			rtt = map[string]float64{"b": 0}
		}
		add(t, s, noon, v4(0, i+1), rtt)
	}
	for _, h := range s.Hints(noon, v4(0, 99)) {
		if h.Site == "b" && (h.RTT != 60 || h.Error < leastError) {
			t.Errorf("%d liars of %d made it %+v", 3, maxReports, h)
		}
	}
	if got := hints(s, noon, v4(0, 99)); got == "" {
		t.Error("honest people do not count")
	}
}

func TestOnePersonCountsOnce(t *testing.T) {
	s := New(Config{})
	base := netip.MustParseAddr("2001:db8:1:2::")
	for i := range byte(20) { // many addresses, one /64
		a := base.As16()
		a[15] = i
		add(t, s, noon, netip.AddrFrom16(a), map[string]float64{"a": 1})
	}
	if got := hints(s, noon, base); got != "" {
		t.Errorf("one /64 counts as several people: %q", got)
	}
	for i := range byte(3) {
		a := base.As16()
		a[7] = 10 + i
		add(t, s, noon, netip.AddrFrom16(a), map[string]float64{"a": 40})
	}
	if got := hints(s, noon, base); got != "a 40±6 " {
		t.Errorf("three /64s of a /48 and a liar: %q", got)
	}
}

func TestExpiry(t *testing.T) {
	s := New(Config{Expiry: time.Hour})
	for i := range byte(3) {
		add(t, s, noon.Add(time.Duration(i)*30*time.Minute), v4(0, i), map[string]float64{"a": 20})
	}
	if got := hints(s, noon.Add(60*time.Minute), v4(0, 9)); got != "a 20±6 " {
		t.Errorf("after an hour %q", got)
	}
	if got := hints(s, noon.Add(61*time.Minute), v4(0, 9)); got != "" {
		t.Errorf("the first is out of date, and yet %q", got)
	}
}

func TestBounds(t *testing.T) {
	s := New(Config{Prefixes: 64, Quorum: 1})
	for i := range 5000 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 10<<24|uint32(i)<<8|1)
		rtt := map[string]float64{}
		for k := range 40 {
			rtt[fmt.Sprint("s", k)] = float64(k + i%7)
		}
		add(t, s, noon, netip.AddrFrom4(b), rtt)
	}
	if networks(s) > 64 {
		t.Errorf("%d networks are kept of 64", networks(s))
	}
	last := netip.AddrFrom4([4]byte{10, 19, 135, 7}) // 4999
	got := s.Hints(noon, last)
	if len(got) != maxSites || got[0].Site != "s0" || got[maxSites-1].Site != fmt.Sprint("s", maxSites-1) {
		t.Errorf("of 40 sites %v are kept", got)
	}
}

// TestLatestUsedStays checks that the network in use is kept, and others go.
func TestLatestUsedStays(t *testing.T) {
	s := New(Config{Prefixes: shards * 2, Quorum: 1})
	add(t, s, noon, v4(7, 1), map[string]float64{"a": 20})
	for i := range 2000 {
		if hints(s, noon, v4(7, 2)) == "" {
			t.Fatalf("gone after %d others", i)
		}
		add(t, s, noon, netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), map[string]float64{"a": 20})
	}
}

// TestLeastReportedSiteGoes checks that a site with few reports is replaced by a
// new one.
func TestLeastReportedSiteGoes(t *testing.T) {
	s := New(Config{Quorum: 2})
	for k := range maxSites {
		for p := range byte(2) {
			if k == 3 && p == 1 {
				continue // only one knows s3
			}
			add(t, s, noon, v4(0, p), map[string]float64{fmt.Sprint("s", k): 50})
		}
	}
	for p := range byte(2) {
		add(t, s, noon, v4(0, p), map[string]float64{"new": 5})
	}
	got := hints(s, noon, v4(0, 9))
	if len(got) == 0 || got[:5] != "new 5" {
		t.Errorf("%q", got)
	}
}

func TestNonsense(t *testing.T) {
	s := New(Config{Quorum: 1})
	add(t, s, noon, v4(0, 1), map[string]float64{"a": math.NaN(), "b": -1, "c": math.Inf(1), "d": 1e9})
	add(t, s, noon, v4(0, 1), nil)
	if networks(s) != 0 {
		t.Error("nonsense is kept")
	}
	if err := s.Add(noon, netip.Addr{}, map[string]float64{"a": 1}); err == nil {
		t.Error("an address is needed")
	}
	if got := s.Hints(noon, netip.Addr{}); got != nil {
		t.Errorf("%v for nobody", got)
	}
	mapped := netip.MustParseAddr("::ffff:198.18.0.1")
	add(t, s, noon, mapped, map[string]float64{"a": 30})
	if got := hints(s, noon, v4(0, 2)); got != "a 30±6 " {
		t.Errorf("IPv4 in IPv6 is another network: %q", got)
	}
}

func TestManyAtOnce(t *testing.T) {
	s := New(Config{Prefixes: 100, Between: between})
	var wg sync.WaitGroup
	for g := range byte(8) {
		wg.Go(func() {
			for i := range 500 {
				from := v4(byte(i), g)
				if err := s.Add(noon, from, map[string]float64{"a": 20 + float64(g), "b": 30}); err != nil {
					t.Error(err)
				}
				for _, h := range s.Hints(noon, from) {
					if h.Site == "a" && (h.RTT < 20 || h.RTT > 28) {
						t.Errorf("%+v", h)
					}
				}
			}
		})
	}
	wg.Wait()
	if networks(s) > 100 {
		t.Errorf("%d networks", networks(s))
	}
}
