package input

// Resize says how large the display is now: positions are parts of it.
func (in *Injector) Resize(width, height int) {
	if width < 1 || height < 1 {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.width, in.height = width, height
}
