"""One builder for supernets and their children: `build` makes a network of any space."""
