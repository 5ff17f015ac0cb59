package main

import (
	"testing"
	"time"
)

var kept []byte

func TestMemoryIsGivenBackAfterABurst(t *testing.T) {
	looks, done, freed := make(chan time.Time), make(chan struct{}), make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		giveBack(looks, done, func() { freed <- struct{}{} })
		close(ended)
	}()
	look := func() (free bool) {
		for range 3 { // the last is taken when the ones before are over
			looks <- time.Time{}
		}
		select {
		case <-freed:
			return true
		default:
			return false
		}
	}
	if look() {
		t.Error("given back before there was a burst")
	}
	for range 3 {
		kept = make([]byte, worth)
	}
	if !look() {
		t.Error("not given back after a burst")
	}
	if look() {
		t.Error("given back twice for one burst")
	}
	close(done)
	<-ended
}
