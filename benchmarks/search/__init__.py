"""Does the search find what is cheapest, for a fraction of what trying everything takes?"""
