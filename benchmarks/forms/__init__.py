"""Small trained networks in every form: is what ``--lowering auto`` takes the fastest of them?"""
