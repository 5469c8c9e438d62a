"""Made-up mobile populations for methods, demonstrations and tests; nobody is in them."""
