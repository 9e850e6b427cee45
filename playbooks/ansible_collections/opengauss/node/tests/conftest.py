"""What the collection's own tests share."""


def pytest_configure(config):
    config.addinivalue_line("markers", "versions: run with every release of ansible-core that the collection is for")
