"""Networks lowered: what passes are tried on."""

from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import vjp
from diffuser_fast.core.spec import UNetSpec, ValueSpec

NETWORKS = {
    "unet": lower(UNetSpec(16, 5, dim=8, dim_mults=(1, 2, 4))).net,
    "hopper": lower(UNetSpec(32, 14)).net,
    "odd widths": lower(UNetSpec(8, 7, dim=12, dim_mults=(1, 3), groups=4)).net,
    "one level": lower(UNetSpec(3, 4, dim=8, dim_mults=(1,))).net,
    "attention": lower(UNetSpec(4, 23, dim=8, dim_mults=(1, 4, 8), attention=True)).net,
    "value": vjp(lower(ValueSpec(32, 14)).net),
    "value of odd lengths": vjp(lower(ValueSpec(5, 3, dim=8, dim_mults=(1, 4))).net),
    "gradient of a unet": vjp(lower(UNetSpec(8, 5, dim=8, dim_mults=(1, 2, 4))).net),
}
