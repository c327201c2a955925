package guard

// Taken is which share of its limits the proven connections take: of their number, or of
// the bytes that are held for them, whichever is larger.
func (g *Guard) Taken() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(share(g.proven, g.limits.Proven), share(g.provenBytes, g.limits.ProvenBytes))
}

func share(n, limit int) float64 {
	if limit <= 0 {
		return 0
	}
	return float64(n) / float64(limit)
}
