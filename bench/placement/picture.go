package main

func (b *bench) picture(path string) error { return nil }
