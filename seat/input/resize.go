package input

// Resize says how large the display is now: positions are parts of it.
func (in *Injector) Resize(width, height int) {
	if width < 1 || height < 1 {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if width != in.width || height != in.height {
		in.absolute = false // the server moves the pointer into a smaller screen
	}
	in.width, in.height = width, height
}
