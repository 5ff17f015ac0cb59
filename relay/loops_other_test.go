//go:build !linux

package relay

const haveLoops = false
