// Built outside the tree (peers/cadvisor/build.py copies this directory to a cache first), so that
// go.sum and the indirect requirements that Go adds never land in the project.
module cotenant/peers/cadvisor

go 1.25.0

require (
	github.com/google/cadvisor v0.60.6
	github.com/google/cadvisor/lib v0.60.6
	github.com/prometheus/client_golang v1.22.0
	k8s.io/klog/v2 v2.130.1
	k8s.io/utils v0.0.0-20250502105355-0f33e8f1c979
)

// cAdvisor's own go.mod names its library as v0.0.0, from the directory beside it; as a module it
// has the release's number.
replace github.com/google/cadvisor/lib v0.0.0 => github.com/google/cadvisor/lib v0.60.6
