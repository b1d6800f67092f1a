"""Every host network, in one tuple."""

from tests.hosts.carried import CARRIED
from tests.hosts.host import Host
from tests.hosts.opened import OPENED
from tests.hosts.plain import PLAIN
from tests.hosts.written import WRITTEN

HOSTS: tuple[Host, ...] = (*CARRIED, *WRITTEN, *OPENED, *PLAIN)
