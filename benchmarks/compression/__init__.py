"""Do smaller models keep their word: their speed, their quality, and what was forecast of both?"""
