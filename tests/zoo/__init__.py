"""Small networks on real data, healthy and faulty, to measure the checks on."""
