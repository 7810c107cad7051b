module cotenant/tests/goserver

go 1.21
