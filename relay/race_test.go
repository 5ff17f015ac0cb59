//go:build race

package relay

// raceDetector makes tests move less.
const raceDetector = true
